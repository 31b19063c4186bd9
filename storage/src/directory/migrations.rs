//! The migrations of a database, by number. A file that a release has shipped never changes: the database keeps
//! its checksum, and a node refuses tables whose checksum it does not know.

use std::sync::LazyLock;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The migrations of SQLite.
pub(super) static SQLITE: LazyLock<Migrator> = LazyLock::new(|| {
    migrator(&[
        ("directory", include_str!("../migrations/sqlite/0001_directory.sql")),
        ("expiry", include_str!("../migrations/sqlite/0002_expiry.sql")),
        ("accounts", include_str!("../migrations/sqlite/0003_accounts.sql")),
        ("limits", include_str!("../migrations/sqlite/0004_limits.sql")),
        ("networks", include_str!("../migrations/sqlite/0005_networks.sql")),
        ("revocations", include_str!("../migrations/sqlite/0006_revocations.sql")),
        ("second copies", include_str!("../migrations/sqlite/0007_second_copies.sql")),
    ])
});

/// The migrations of PostgreSQL.
#[cfg(feature = "postgres")]
pub(super) static POSTGRES: LazyLock<Migrator> = LazyLock::new(|| {
    migrator(&[
        ("directory", include_str!("../migrations/postgres/0001_directory.sql")),
        ("limits", include_str!("../migrations/postgres/0002_limits.sql")),
        ("networks", include_str!("../migrations/postgres/0003_networks.sql")),
        ("revocations", include_str!("../migrations/postgres/0004_revocations.sql")),
    ])
});

fn migrator(files: &[(&'static str, &'static str)]) -> Migrator {
    let numbered = files.iter().zip(1..).map(|(&(description, sql), version)| {
        let (kind, sql) = (MigrationType::Simple, SqlStr::from_static(sql));
        Migration::new(version, description.into(), kind, sql, false)
    });
    Migrator::with_migrations(numbered.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What databases that exist have recorded: another checksum would make a node refuse them.
    #[test]
    fn the_checksums_of_released_migrations_stay_the_same() {
        let recorded = |migrator: &Migrator| -> Vec<_> {
            let of = |migration: &Migration| {
                let start = &migration.checksum[..4];
                (migration.version, u32::from_be_bytes(start.try_into().expect("48 bytes")))
            };
            migrator.iter().map(of).collect()
        };
        let sqlite = [
            (1, 0x69bd_fe62),
            (2, 0xea75_1304),
            (3, 0xa1c9_a2ca),
            (4, 0xb1de_7460),
            (5, 0xc0cc_f121),
            (6, 0x3144_71b9),
            (7, 0xcf1e_7ffc),
        ];
        assert_eq!(recorded(&SQLITE), sqlite);
        #[cfg(feature = "postgres")]
        let postgres = [(1, 0xfae1_5adc), (2, 0x8b76_a427), (3, 0x8bf3_8a93), (4, 0x1182_07bd)];
        #[cfg(feature = "postgres")]
        assert_eq!(recorded(&POSTGRES), postgres);
    }
}
