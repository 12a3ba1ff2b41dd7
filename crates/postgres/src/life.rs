//! Owns how runs of nodes, and epochs, are written: as PostgreSQL writes a `uuid`.

use flushcast_core::wire::Incarnation;

use crate::PollError;

pub(crate) fn life_text(life: Incarnation) -> String {
    format!("{:032x}", number_of(life))
}

pub(crate) fn number_of(life: Incarnation) -> u128 {
    u128::from_be_bytes(life.0)
}

pub(crate) fn epoch_text(id: u128) -> String {
    format!("{id:032x}")
}

pub(crate) fn read_life(text: &str) -> Result<Incarnation, PollError> {
    let number = u128::from_str_radix(&text.replace('-', ""), 16);
    let number = number.map_err(|_| PollError::BadRow(text.to_owned()))?;
    Ok(Incarnation(number.to_be_bytes()))
}
