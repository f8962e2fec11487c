-- Uploads that name files in stores of other people.
ALTER TABLE parties ADD COLUMN keyring TEXT;    -- JSON: what opens those stores; gone once the files were read
