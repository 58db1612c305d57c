//! Whom a fact is about.

use serde::{Deserialize, Serialize};

use super::Phone;

/// Everything a rule learnt about whom a fact concerns. Any of it may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The call's id at the voice platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The lead's phone in E.164.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Phone>,
    /// The lead's e-mail address, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The appointment's id at the calendar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booking_id: Option<String>,
    /// The deal's, order's or invoice's id at the CRM or payment tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deal_id: Option<String>,
    /// The contact's id at the CRM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact_id: Option<String>,
    /// The voice agent that held the call. Not a subject by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
}

impl Subject {
    /// Whether it says whom the fact is about at all. An agent alone does not.
    pub fn is_known(&self) -> bool {
        self.call_id.is_some()
            || self.phone.is_some()
            || self.email.is_some()
            || self.booking_id.is_some()
            || self.deal_id.is_some()
            || self.contact_id.is_some()
    }
}
