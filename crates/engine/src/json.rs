//! A look at a JSON document before anything is built of it.

use pyo3::prelude::*;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// What is wrong with `document` as JSON, in words, or None: it is UTF-8 and well formed, nests at most `most_deep` and holds at
/// most `most_values` values and keys, and no text has a NUL or half a surrogate pair, no number is too large for a float.
#[pyfunction]
#[pyo3(signature = (document, *, most_deep, most_values))]
pub(crate) fn check_json(py: Python<'_>, document: &[u8], most_deep: usize, most_values: usize) -> Option<String> {
    // Borrowed from a `bytes`, which nobody can change.
    py.detach(|| check(document, most_deep, most_values)).err()
}

fn check(document: &[u8], most_deep: usize, most_values: usize) -> Result<(), String> {
    let document = document.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(document);
    let text =
        std::str::from_utf8(document).map_err(|error| format!("it is not UTF-8 at byte {}", error.valid_up_to()))?;
    let mut counted = Counted { most_deep, most_values, values: 0 };
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit(); // ours is stricter
    Value { counted: &mut counted, depth: 1 }
        .deserialize(&mut reader)
        .and_then(|()| reader.end())
        .map_err(|error| error.to_string())
}

struct Counted {
    most_deep: usize,
    most_values: usize,
    values: usize,
}

struct Value<'a> {
    counted: &'a mut Counted,
    depth: usize,
}

impl Value<'_> {
    fn inner(&mut self) -> Value<'_> {
        Value { counted: self.counted, depth: self.depth + 1 }
    }

    fn enter<E: Error>(&self) -> Result<(), E> {
        if self.depth > self.counted.most_deep {
            return Err(E::custom(format!("it nests lists and objects more than {} deep", self.counted.most_deep)));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.counted.values += 1;
        if self.counted.values > self.counted.most_values {
            return Err(D::Error::custom(format!("it holds more than {} values and keys", self.counted.most_values)));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') { Err(E::custom("a text has a NUL")) } else { Ok(()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.enter()?;
        while items.next_element_seed(self.inner())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        self.enter()?;
        while entries.next_key_seed(self.inner())?.is_some() {
            entries.next_value_seed(self.inner())?;
        }
        Ok(())
    }
}
