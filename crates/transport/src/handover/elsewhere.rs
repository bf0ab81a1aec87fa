//! Connections that were sent away, until a newer process says that they have registered there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;
use uuid::Uuid;

/// Who waits for a connection of a connector, by its index.
#[derive(Default)]
pub struct Elsewhere(Mutex<HashMap<(Uuid, u8), oneshot::Sender<()>>>);

impl Elsewhere {
    /// Ready once the connection has registered elsewhere, from this call on.
    pub fn expect(&self, connector_id: Uuid, index: u8) -> oneshot::Receiver<()> {
        let (told, waiting) = oneshot::channel();
        let mut expected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        expected.retain(|_, other| !other.is_closed());
        expected.insert((connector_id, index), told);
        waiting
    }

    /// It has.
    pub fn note(&self, connector_id: Uuid, index: u8) {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(connector_id, index));
        if let Some(told) = told {
            let _ = told.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_hears_of_its_connection_alone() {
        let (elsewhere, one) = (Elsewhere::default(), Uuid::from_u128(1));
        let (mut first, second) = (elsewhere.expect(one, 0), elsewhere.expect(one, 1));
        elsewhere.note(Uuid::from_u128(2), 0);
        elsewhere.note(one, 1);
        second.await.unwrap();
        assert!(first.try_recv().is_err());
        drop(first);
        let _third = elsewhere.expect(one, 2);
        assert_eq!(elsewhere.0.lock().unwrap().len(), 1, "who left is forgotten");
    }
}
