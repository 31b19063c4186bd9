-- What an operator does with accounts while nodes run.

ALTER TABLE users ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1));

-- Whose sessions must end; a running node does it and takes the entry out. AUTOINCREMENT, because a
-- number that came again would take out an entry that nobody has seen.
CREATE TABLE session_endings (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL REFERENCES users
) STRICT;

-- The devices of a user.
CREATE INDEX devices_by_user ON devices (user_id);
