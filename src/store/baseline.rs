//! What SQLite takes if nothing is asked of it but to keep rows: the baseline that `outcome-bridge bench` compares imports
//! with. One plain table, no index, many rows in each statement, a thousand in each synced transaction.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, QueryBuilder, Sqlite, SqliteConnection};

use super::error::StoreError;

/// Rows of one statement; SQLite takes 32 766 values in one.
const AT_ONCE: usize = 250;

/// A table of text that is only written to.
pub struct PlainTable {
    connection: SqliteConnection,
    columns: usize,
    took: Duration,
}

impl PlainTable {
    /// A new file with one table of so many columns, with the store's own durability.
    ///
    /// # Errors
    /// [`StoreError::Database`] when it cannot be made.
    pub async fn create(path: &Path, columns: usize) -> Result<Self, StoreError> {
        let mut connection = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging()
            .connect()
            .await?;
        let names: Vec<String> = (0..columns).map(|n| format!("c{n} TEXT")).collect();
        let table = format!("CREATE TABLE plain ({})", names.join(", "));
        sqlx::query(sqlx::AssertSqlSafe(table))
            .execute(&mut connection)
            .await?;
        Ok(Self {
            connection,
            columns,
            took: Duration::ZERO,
        })
    }

    /// Inserts rows in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Database`] when they cannot be written.
    pub async fn insert(&mut self, rows: &[Vec<String>]) -> Result<(), StoreError> {
        let begun = Instant::now();
        let mut transaction = self.connection.begin().await?;
        for some in rows.chunks(AT_ONCE) {
            let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO plain ");
            query.push_values(some, |mut values, row| {
                for text in row.iter().take(self.columns) {
                    values.push_bind(text.as_str());
                }
            });
            query.build().execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.took += begun.elapsed();
        Ok(())
    }

    /// The time spent on inserts so far.
    pub fn took(&self) -> Duration {
        self.took
    }
}
