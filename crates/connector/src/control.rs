//! Configurations that the edge pushes: handed to Python as an event, answered by it or by a time-out.

use crate::ConfigurationPushed;
use crate::calls::Call;
use crate::data_path::DataPath;
use crate::pushes::{MAX_PUSHES, PUSH_WINDOW, PushLimit};
use qanat_transport::{Applied, ConfigurationPush};
use qanat_wire::configuration::MAX_CONFIGURATION;
use std::sync::Arc;
use std::time::Instant;

/// Takes one push in; the answer follows on its own.
pub(crate) fn take(data_path: &Arc<DataPath>, connection_index: u8, push: ConfigurationPush, limit: &mut PushLimit) {
    data_path.counters.configuration_pushes.add(1);
    let refusal = if push.configuration.len() > MAX_CONFIGURATION {
        Some(format!("the configuration has {} bytes, more than {MAX_CONFIGURATION}", push.configuration.len()))
    } else if !limit.allows(Instant::now()) {
        Some(format!("more than {MAX_PUSHES} configurations within {} s", PUSH_WINDOW.as_secs()))
    } else {
        None
    };
    if let Some(reason) = refusal {
        data_path.counters.configuration_pushes_refused.add(1);
        let version = data_path.pushes.version();
        // The edge may have gone already.
        let answered = push.answer.send(Applied { version, error: Some(reason) });
        data_path.calls.begin(Call::UpdateConfiguration).ended(&answered);
        return;
    }
    let (push_id, answered) = data_path.pushes.open();
    data_path.events.push(ConfigurationPushed {
        push_id,
        connection_index,
        version: push.version,
        configuration: push.configuration,
    });
    let data_path = data_path.clone();
    let answer = push.answer;
    tokio::spawn(async move {
        let begun = data_path.calls.begin(Call::UpdateConfiguration);
        // A little less than the edge waits, so that it hears the reason.
        let patience = data_path.settings.rpc_timeout.mul_f64(0.9);
        let applied = match tokio::time::timeout(patience, answered).await {
            Ok(Ok(applied)) => applied,
            _ => {
                data_path.pushes.forget(push_id);
                let error =
                    format!("the connector did not apply the configuration within {:.1} s", patience.as_secs_f64());
                Applied { version: data_path.pushes.version(), error: Some(error) }
            }
        };
        if applied.error.is_some() {
            data_path.counters.configuration_pushes_refused.add(1);
        }
        begun.ended(&answer.send(applied));
    });
}
