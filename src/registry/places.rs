//! The keys of records, and what else they are found under. Ids are the vendor's own: their source is part of
//! every key, so that the same booking id from two vendors is two appointments.

use super::link::LinkKind;
use crate::model::{EventId, Phone};
use crate::queue::RegistryKey;

/// The record of an appointment.
pub fn appointment(source: &str, booking_id: &str) -> RegistryKey {
    RegistryKey::of(&["appointment", source, booking_id])
}

/// The record of a call.
pub fn call(source: &str, call_id: &str) -> RegistryKey {
    RegistryKey::of(&["call", source, call_id])
}

/// The record of a deal or contact.
pub fn link(kind: LinkKind, source: &str, id: &str) -> RegistryKey {
    RegistryKey::of(&[kind.as_str(), source, id])
}

/// Appointments with this phone, by their start.
pub fn appointments_of_phone(phone: &Phone) -> RegistryKey {
    RegistryKey::of(&["appointment-phone", phone.as_str()])
}

/// Appointments with this e-mail address, by their start.
pub fn appointments_of_email(email: &str) -> RegistryKey {
    RegistryKey::of(&["appointment-email", email])
}

/// Calls with this phone, by their beginning.
pub fn calls_of_phone(phone: &Phone) -> RegistryKey {
    RegistryKey::of(&["call-phone", phone.as_str()])
}

/// Calls with this e-mail address, by their beginning.
pub fn calls_of_email(email: &str) -> RegistryKey {
    RegistryKey::of(&["call-email", email])
}

/// What a fact of an event reports of a person's presence.
pub fn presence(event: EventId, fact: u16) -> RegistryKey {
    RegistryKey::of(&["presence", &event.to_string(), &fact.to_string()])
}

/// Reports of the presence of whom this phone belongs to, by their moment.
pub fn presence_of_phone(phone: &Phone) -> RegistryKey {
    RegistryKey::of(&["presence-phone", phone.as_str()])
}

/// Reports of the presence of whom this e-mail address belongs to, by their moment.
pub fn presence_of_email(email: &str) -> RegistryKey {
    RegistryKey::of(&["presence-email", email])
}
