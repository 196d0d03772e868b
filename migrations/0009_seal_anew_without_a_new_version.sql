-- Sealing values anew changes nothing that processes know: it is no change to follow, and must not wait for the row of
-- the version while it holds rows that somebody who has that one waits for.
CREATE OR REPLACE FUNCTION bump_config_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('longshore.is_resealing', true) IS DISTINCT FROM 'on' THEN
        UPDATE config_version SET version = version + 1;
    END IF;
    RETURN NULL;
END
$$;
