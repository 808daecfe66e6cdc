-- What was issued, for audits; the tokens themselves are never kept.
CREATE TABLE issued_tokens (
    jti        text PRIMARY KEY,
    client_id  text NOT NULL REFERENCES clients (id),
    scope      text NOT NULL,
    issued_at  timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
