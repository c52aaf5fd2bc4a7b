-- the schema of outbox_emit() may be one in which others can create operators
SET LOCAL search_path = pg_catalog, pg_temp;

-- What is born here belongs to nobody but the owner: each object's privileges
-- are revoked from PUBLIC where it is created, and what ALTER DEFAULT PRIVILEGES
-- would grant to others is set aside while the script runs.
UPDATE pg_default_acl SET defaclrole = 0 WHERE defaclrole = current_user::regrole;
