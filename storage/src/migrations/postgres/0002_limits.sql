-- How many channels a user holds, and groups that take several transactions.

-- No call sees the group: it is being created or removed, or that was interrupted.
ALTER TABLE channels ADD COLUMN hidden BOOLEAN NOT NULL DEFAULT FALSE;

CREATE INDEX channels_hidden ON channels (created_at) WHERE hidden;

-- The user was added by another one who was no friend then. Not known of earlier members.
ALTER TABLE members ADD COLUMN by_stranger BOOLEAN NOT NULL DEFAULT FALSE;

-- How many channels of either kind a user holds.
CREATE INDEX members_held ON members (user_id, by_stranger);
