-- Checks now what is DEFERRABLE INITIALLY DEFERRED, as Django's foreign keys are. Taken back afterwards, so that the
-- next handler finds its constraints as deferred as they were.
DO $$ BEGIN
  SET CONSTRAINTS ALL IMMEDIATE;
  RAISE SQLSTATE '02000';
EXCEPTION WHEN SQLSTATE '02000' THEN
  NULL;
END $$
