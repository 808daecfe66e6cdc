-- Who may ask for tokens.
CREATE TABLE clients (
    id          text PRIMARY KEY,
    secret_hash text NOT NULL,
    scopes      text[] NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
