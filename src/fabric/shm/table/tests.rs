//! Tables as owner and partner see them: rows and ports come, go and are not taken for their successors.

use super::*;

fn opened(table: &Table) -> Result<ForeignTable, String> {
    let peer = Peer::open(std::process::id()).map_err(|denied| denied.to_string())?;
    ForeignTable::open(&peer, table.file()).map_err(|denied| denied.to_string())
}

const ROW: Row = Row { length: 100, access: AccessFlags::REMOTE_READ, file: 7 };

#[test]
fn rows_are_seen_under_their_key_and_only_while_they_last() -> Result<(), Box<dyn std::error::Error>> {
    let table = Table::new(Geometry::LINK)?;
    let other = opened(&table)?;
    assert_eq!(other.token(), table.token());
    let key = table.add_row(ROW)?;
    let Some((row, word)) = other.row(key) else { return Err("no row".into()) };
    assert_eq!((row, word.load_relaxed()), (ROW, key));
    assert!(other.row(key ^ 1 << 20).is_none() && other.row(0).is_none() && other.row(key | 0xffff).is_none());
    table.remove_row(key);
    assert!(other.row(key).is_none());
    let next = table.add_row(ROW)?;
    assert_eq!(row_of(next), row_of(key));
    assert!(next != key && word.load_relaxed() == next);
    Ok(())
}

#[test]
fn a_full_table_says_so_and_a_revoked_one_is_empty_for_good() -> Result<(), Box<dyn std::error::Error>> {
    let table = Table::new(Geometry { ports: 2, exposures: 3 })?;
    let keys = [table.add_row(ROW)?, table.add_row(ROW)?, table.add_row(ROW)?];
    assert!(matches!(table.add_row(ROW), Err(FabricError::Exhausted { max: 3, .. })));
    let (index, words) = table.add_port()?;
    let _other = table.add_port()?;
    assert!(matches!(table.add_port(), Err(FabricError::Exhausted { max: 2, .. })));
    table.remove_port(index, &words);
    table.remove_port(index, &words);
    let (_, words) = table.add_port()?;
    assert!(table.add_port().is_err() && words.is_ready());
    let seen = opened(&table)?;
    table.revoke();
    assert!(!words.is_ready());
    assert!(keys.iter().all(|key| seen.row(*key).is_none()));
    keys.into_iter().for_each(|key| table.remove_row(key));
    assert!(table.add_row(ROW).is_err() && table.add_port().is_err());
    Ok(())
}

#[test]
fn a_port_in_a_place_is_not_its_predecessor() -> Result<(), Box<dyn std::error::Error>> {
    let table = Table::new(Geometry::LINK)?;
    let seen = opened(&table)?;
    let (index, first) = table.add_port()?;
    let Some(watched) = seen.port(index, first.number()) else { return Err("no port".into()) };
    assert!(watched.is_ready());
    table.remove_port(index, &first);
    assert!(!watched.is_ready());
    let (same, second) = table.add_port()?;
    assert_eq!(same, index);
    assert!(second.is_ready() && !watched.is_ready() && !first.is_ready());
    assert!(seen.port(1, 1).is_none());
    Ok(())
}
