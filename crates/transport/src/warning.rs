//! What the engine has to say that is no event of the protocol.

/// A line for the log of whoever runs the engine. Texts are as they are: escaping is the log's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// `warning` or `error`.
    pub level: &'static str,
    /// The module that says so.
    pub target: &'static str,
    /// For people.
    pub message: String,
    /// Name and value of what belongs to it.
    pub fields: Vec<(&'static str, String)>,
    /// How many of its kind were held back since the last one.
    pub held_back: u64,
}
