-- Settings refuse nonsense at once, and say what is wrong with it.
SELECT name, context, unit, boot_val
FROM pg_settings WHERE name LIKE 'outbox.%' ORDER BY name;

-- (its words differ between versions)
\set VERBOSITY sqlstate
ALTER SYSTEM SET outbox.max_event_size = '1GB';
\set VERBOSITY default
ALTER SYSTEM SET outbox.databases = 'a,,b';
ALTER SYSTEM SET outbox.kafka_properties = 'linger.ms';
ALTER SYSTEM SET outbox.kafka_properties = '=1';
ALTER SYSTEM SET outbox.kafka_properties = 'client.id=''open';
ALTER SYSTEM SET outbox.kafka_properties = 'acks=1';
ALTER SYSTEM SET outbox.kafka_properties = 'partitioner=random';
ALTER SYSTEM SET outbox.kafka_properties = 'topic.partitioner=random';
ALTER SYSTEM SET outbox.kafka_properties = 'Topic.Partitioner=RANDOM';
ALTER SYSTEM SET outbox.kafka_properties = 'topic.request.required.acks=1';
ALTER SYSTEM SET outbox.kafka_properties = 'ut_handle_ProduceResponse=x';
ALTER SYSTEM SET outbox.kafka_properties = 'linger.ms=1 enable.idempotence=false';
ALTER SYSTEM SET outbox.kafka_properties = 'plugin.library.paths=evil.so';
ALTER SYSTEM SET outbox.kafka_properties = 'Plugin.Library.Paths=evil.so';
ALTER SYSTEM SET outbox.kafka_properties = 'bootstrap.servers=elsewhere:9092';
ALTER SYSTEM SET outbox.kafka_properties = 'internal.termination.signal=2';
ALTER SYSTEM SET outbox.kafka_properties = 'sasl.kerberos.kinit.cmd=evil';
-- these get into a command that librdkafka runs
ALTER SYSTEM SET outbox.kafka_properties = 'sasl.kerberos.principal=me;evil';
ALTER SYSTEM SET outbox.kafka_properties = 'SASL.Kerberos.Principal=$(evil)';
ALTER SYSTEM SET outbox.kafka_properties = 'sasl.kerberos.principal=-cevil';
ALTER SYSTEM SET outbox.kafka_properties = 'sasl.kerberos.keytab=a"|evil"';
ALTER SYSTEM SET outbox.kafka_properties = 'sasl.kerberos.keytab=`evil`';
ALTER SYSTEM SET outbox.kafka_properties = 'sasl.kerberos.service.name=''kafka evil''';
-- secrets belong into the file, and are not repeated in the message
ALTER SYSTEM SET outbox.kafka_properties = 'sasl.username=me sasl.password=hush';
ALTER SYSTEM SET outbox.kafka_properties = 'sasl.oauthbearer.assertion.private.key.passphrase=hush';
ALTER SYSTEM SET outbox.kafka_properties = 'sasl.oauthbearer.token.endpoint.url=https://me:hush@example.com/token';

-- what is fine
ALTER SYSTEM SET outbox.kafka_properties =
    'acks=all enable.idempotence=true partitioner=consistent_random linger.ms=5  client.id=''it''''s quoted''';
ALTER SYSTEM SET outbox.kafka_properties =
    'sasl.kerberos.principal=app/host-1.example.com@EXAMPLE.COM sasl.kerberos.keytab=FILE:/etc/app_1.keytab sasl.kerberos.service.name=kafka';
ALTER SYSTEM SET outbox.kafka_properties =
    'sasl.oauthbearer.token.endpoint.url=https://example.com/token topic.partitioner=fnv1a';
ALTER SYSTEM RESET outbox.kafka_properties;
ALTER SYSTEM SET outbox.databases = 'one, "Two"';
ALTER SYSTEM RESET outbox.databases;
