-- A device goes with its token, and expired tokens are removed, the earliest first.

CREATE INDEX access_tokens_by_expiry ON access_tokens (expires_at);

-- For whoever removes a device: that no token needs it is looked up here.
CREATE INDEX access_tokens_by_device ON access_tokens (device_id);

-- The devices of tokens that ended before this was so.
DELETE FROM devices WHERE device_id NOT IN (SELECT device_id FROM access_tokens);
