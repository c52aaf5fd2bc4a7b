DROP PROCEDURE outbox.each_segment(text);

-- what was set aside
UPDATE pg_default_acl SET defaclrole = current_user::regrole WHERE defaclrole = 0;
