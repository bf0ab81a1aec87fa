//! Settings come down as plain values and are read by field. Each function here is for `#[serde(deserialize_with = …)]`.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

const LONGEST: f64 = 10.0 * 365.0 * 86400.0;

/// Seconds as a duration: finite, not negative, at most ten years.
pub fn seconds<'de, D: Deserializer<'de>>(given: D) -> Result<Duration, D::Error> {
    let value = f64::deserialize(given)?;
    if !(0.0..=LONGEST).contains(&value) {
        return Err(D::Error::custom(format!("{value} is not a valid number of seconds from 0 to {LONGEST}")));
    }
    Ok(Duration::from_secs_f64(value))
}

/// Bytes in one piece, as a secret or a file's content is.
pub fn raw<'de, D: Deserializer<'de>, T: From<Vec<u8>>>(given: D) -> Result<T, D::Error> {
    Ok(Raw::deserialize(given)?.0)
}

/// The same, or none.
pub fn raw_or_none<'de, D: Deserializer<'de>, T: From<Vec<u8>>>(given: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Raw<T>>::deserialize(given)?.map(|raw| raw.0))
}

struct Raw<T>(T);

impl<'de, T: From<Vec<u8>>> Deserialize<'de> for Raw<T> {
    fn deserialize<D: Deserializer<'de>>(given: D) -> Result<Self, D::Error> {
        struct Read<T>(PhantomData<T>);

        impl<T: From<Vec<u8>>> Visitor<'_> for Read<T> {
            type Value = Raw<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Raw<T>, E> {
                Ok(Raw(bytes.to_vec().into()))
            }
        }

        given.deserialize_bytes(Read(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::{BytesDeserializer, Error, F64Deserializer};

    fn read(value: f64) -> Result<Duration, Error> {
        let given: F64Deserializer<Error> = value.into_deserializer();
        seconds(given)
    }

    #[test]
    fn bytes_are_taken_in_one_piece() {
        let given: BytesDeserializer<'_, Error> = b"\0secret".as_slice().into_deserializer();
        assert_eq!(raw::<_, Vec<u8>>(given).unwrap(), b"\0secret");
        let given: F64Deserializer<Error> = 1.0.into_deserializer();
        assert!(raw::<_, Vec<u8>>(given).unwrap_err().to_string().contains("expected bytes"));
    }

    #[test]
    fn what_no_duration_can_be_is_refused_with_the_bounds() {
        assert_eq!(read(0.25).unwrap(), Duration::from_millis(250));
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e12] {
            assert!(read(bad).unwrap_err().to_string().contains("from 0 to"), "{bad}");
        }
    }
}
