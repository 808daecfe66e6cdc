-- Whom to write to. Releases before 2.0.0 neither read nor write it, so they go on working.
ALTER TABLE clients ADD COLUMN contact text NOT NULL DEFAULT '';
