//! A small bank on redb: accounts, transfers drawn by a seed, and an audit that makes every transfer again.
//!
//! Transfer number n is the same whoever makes it, so a database that says it has made n transfers can be compared with what n transfers come to:
//! one that is missing, repeated or out of order shows.

use crate::cli::failure::Failure;
use redb::{Database, ReadableTable, TableDefinition};

/// Balances by account.
const ACCOUNTS: TableDefinition<'_, u64, u64> = TableDefinition::new("accounts");
/// How many transfers were made; under key 0.
const TRANSFERS: TableDefinition<'_, u64, u64> = TableDefinition::new("transfers");

/// How many accounts there are.
pub(crate) const ACCOUNT_COUNT: u64 = 1000;
/// What each has at the start.
const OPENING_BALANCE: u64 = 1000;
/// What all have together, at any time.
pub(crate) const TOTAL: u64 = ACCOUNT_COUNT * OPENING_BALANCE;

/// Who gives whom what share of a balance, by transfer number.
#[derive(Debug, Clone, Copy)]
struct Transfer {
    from: u64,
    to: u64,
    /// Of 256.
    share: u64,
}

impl Transfer {
    fn draw(seed: u64, number: u64) -> Self {
        let [first, second, third] = [0, 1, 2].map(|lane| mix(seed, number.wrapping_mul(3).wrapping_add(lane)));
        let from = first % ACCOUNT_COUNT;
        let to = (from + 1 + second % (ACCOUNT_COUNT - 1)) % ACCOUNT_COUNT;
        Self { from, to, share: third % 256 }
    }

    fn amount(self, balance: u64) -> u64 {
        balance * self.share / 256
    }
}

/// A well-stirred number (the finaliser of SplitMix64).
fn mix(seed: u64, number: u64) -> u64 {
    let mut mixed = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Opens the accounts, in one transaction.
pub(crate) fn open(database: &Database) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    {
        let mut accounts = transaction.open_table(ACCOUNTS)?;
        for account in 0..ACCOUNT_COUNT {
            accounts.insert(account, OPENING_BALANCE)?;
        }
        transaction.open_table(TRANSFERS)?.insert(0, 0)?;
    }
    Ok(transaction.commit()?)
}

/// Makes a transfer, in one transaction. When it returns, the engine has acknowledged it.
pub(crate) fn transfer(database: &Database, seed: u64, number: u64) -> Result<(), Failure> {
    let transfer = Transfer::draw(seed, number);
    let transaction = database.begin_write()?;
    {
        let mut accounts = transaction.open_table(ACCOUNTS)?;
        let missing = || Failure::new("an account is missing");
        let given = accounts.get(transfer.from)?.ok_or_else(missing)?.value();
        let taken = accounts.get(transfer.to)?.ok_or_else(missing)?.value();
        let amount = transfer.amount(given);
        accounts.insert(transfer.from, given - amount)?;
        accounts.insert(transfer.to, taken + amount)?;
        transaction.open_table(TRANSFERS)?.insert(0, number)?;
    }
    Ok(transaction.commit()?)
}

/// What a bank's books say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Audit {
    /// Transfers that were made.
    pub(crate) transfers: u64,
    /// Sum of all balances.
    pub(crate) total: u64,
    /// Accounts whose balance is not what these transfers come to.
    pub(crate) wrong: u64,
}

/// Reads all balances, and makes every transfer again beside them.
pub(crate) fn audit(database: &Database, seed: u64) -> Result<Audit, Failure> {
    let transaction = database.begin_read()?;
    let transfers = transaction.open_table(TRANSFERS)?.get(0)?.map_or(0, |count| count.value());
    let mut expected = vec![OPENING_BALANCE; ACCOUNT_COUNT as usize];
    for number in 1..=transfers {
        let transfer = Transfer::draw(seed, number);
        let amount = transfer.amount(expected[transfer.from as usize]);
        expected[transfer.from as usize] -= amount;
        expected[transfer.to as usize] += amount;
    }
    let (mut total, mut right) = (0_u64, 0);
    for row in transaction.open_table(ACCOUNTS)?.iter()? {
        let (account, balance) = row?;
        total = total.saturating_add(balance.value());
        right += u64::from(expected.get(account.value() as usize) == Some(&balance.value()));
    }
    Ok(Audit { transfers, total, wrong: ACCOUNT_COUNT.saturating_sub(right) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    fn bank() -> Result<Database, Failure> {
        let database = Database::builder().create_with_backend(InMemoryBackend::new())?;
        open(&database)?;
        Ok(database)
    }

    #[test]
    fn the_books_balance_after_any_number_of_transfers() -> Result<(), Failure> {
        let database = bank()?;
        assert_eq!(audit(&database, 7)?, Audit { transfers: 0, total: TOTAL, wrong: 0 });
        for number in 1..=200 {
            transfer(&database, 7, number)?;
        }
        assert_eq!(audit(&database, 7)?, Audit { transfers: 200, total: TOTAL, wrong: 0 });
        Ok(())
    }

    #[test]
    fn a_transfer_that_is_missing_repeated_or_anothers_shows() -> Result<(), Failure> {
        // So many in reverse that some of them touch the same account.
        let reversed = (1..200).rev().chain([200]).collect();
        for numbers in [vec![1, 3], vec![1, 2, 2, 3], reversed] {
            let database = bank()?;
            for number in &numbers {
                transfer(&database, 7, *number)?;
            }
            let audit = audit(&database, 7)?;
            assert!(audit.total == TOTAL && audit.wrong > 0, "{numbers:?}: {audit:?}");
        }
        let database = bank()?;
        transfer(&database, 8, 1)?;
        assert!(audit(&database, 7)?.wrong > 0);
        Ok(())
    }
}
