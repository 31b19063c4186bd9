-- From which networks a user has logged in: an IPv4 address, or the first address of an IPv6 /64.

CREATE TABLE known_networks (
    user_id INTEGER NOT NULL REFERENCES users,
    network TEXT    NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, network)
) STRICT, WITHOUT ROWID;

-- They are forgotten by age.
CREATE INDEX known_networks_by_age ON known_networks (seen_at, user_id, network);
