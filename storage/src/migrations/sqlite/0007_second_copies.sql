-- A second copy of every row, as an index over all columns of its table, on other pages. The pages of SQLite
-- carry no checksum; with the copy, `PRAGMA integrity_check` finds a changed letter in either of the two.
-- friends has friends_by_friend and known_networks has known_networks_by_age, which cover all of their columns.

CREATE INDEX users_copy ON users
    (user_id, username, username_key, display_name, status_text, avatar_url, created_at, disabled);
CREATE INDEX credentials_copy ON credentials (user_id, password_hash);
CREATE INDEX devices_copy ON devices (device_id, user_id, name);
CREATE INDEX access_tokens_copy ON access_tokens (token_hash, device_id, expires_at);
CREATE INDEX settings_copy ON settings (user_id, locale, notifications, share_presence, share_read);
CREATE INDEX blocks_copy ON blocks (blocked_id, user_id);
CREATE INDEX channels_copy ON channels
    (channel_id, kind, name, created_at, direct_low, direct_high, arrivals, hidden);
CREATE INDEX members_copy ON members (user_id, channel_id, role, arrival, read_up_to, by_stranger);
CREATE INDEX revocations_copy ON revocations
    (number, kind, user_id, token_hash, device_id, channel_id, channel_name);
