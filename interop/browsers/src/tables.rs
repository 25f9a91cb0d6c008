//! What all came to, as the tables of the README.

use std::fmt::Write as _;

use crate::scenes::Row;
use crate::speed::Speed;
use crate::stage::Offers;

/// Both tables.
pub fn write(rows: &[Row], speeds: &[Speed]) -> String {
    format!("{}\n{}", matrix(rows), compared(speeds))
}

fn matrix(rows: &[Row]) -> String {
    let mut table = String::from(
        "| peer | offers | floe's options | the browser's addresses | selected after | open after \
         | pair (floe – browser) |\n|---|---|---|---|---:|---:|---|\n",
    );
    for row in rows {
        let offers = if row.cell.offers == Offers::Floe { "floe" } else { "browser" };
        let addresses = if row.cell.mdns { "mDNS names" } else { "shown" };
        let _ = writeln!(
            table,
            "| {} | {offers} | {} | {addresses} | {:.0} ms | {:.0} ms | {} |",
            row.version,
            row.cell.shown(),
            row.selected,
            row.open,
            row.pair,
        );
    }
    table
}

fn compared(speeds: &[Speed]) -> String {
    let mut table = String::from(
        "| browser | who offers | connected: floe | connected: itself | open: floe | open: itself |\n\
         |---|---|---:|---:|---:|---:|\n",
    );
    for Speed { cell, floe, itself } in speeds {
        let offers = if cell.offers == Offers::Floe { "the other" } else { "the page" };
        let _ = writeln!(
            table,
            "| {} | {offers} | {} ms | {} ms | {} ms | {} ms |",
            cell.browser, floe[0], itself[0], floe[1], itself[1],
        );
    }
    table
}
