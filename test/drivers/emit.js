/*
 * Calls outbox_emit() through node-postgres, with the parameters an
 * application passes.
 *
 * The topic names the case; test/t/090_drivers.pl reads the events back from
 * outbox.event and knows what each case must have stored. The connection
 * comes from the PG* variables.
 *
 * What node-postgres sends: everything as text without a type, so that the
 * server takes it as text; an object as its JSON. Two things need care:
 *   - a Buffer goes out as binary, still without a type: write $3::bytea, or
 *     the server takes its bytes as a text;
 *   - an array becomes a PostgreSQL array literal, not JSON: stringify it.
 */
'use strict';

const { Client } = require('pg');

const EMIT = 'SELECT outbox_emit($1, $2, $3)';
const EMIT_BYTES = 'SELECT outbox_emit($1, $2, $3::bytea)';
const EMIT_HEADERS = 'SELECT outbox_emit($1, $2, $3, $4)';
const EMIT_NAMED = 'SELECT outbox_emit(topic => $1, key => $2, payload => $3, headers => $4)';
const EMIT_TIMES = 'SELECT outbox_emit($1, $2, $3, deliver_after => $4, expires_at => $5)';

const UUID = '01890a5d-ac96-774b-bcce-b302099a8057';
const OBJECT = { a: 1, b: [true, null] };
const HEADERS = { source: 'driver' };

const CASES = [
	['string', 'k', 'grüße €'],
	['empty', '', ''],
	['int_small', 7, 'x'],
	['int_big', 9007199254740993n, 'x'],
	['numeric', '12.5', 'x'],
	['uuid', UUID, 'x'],
	['json', 7, OBJECT],
	['json_text', 7, JSON.stringify(OBJECT)],
	['null_payload', 7, null],
	['null_key', null, 'x'],
	['null_both', null, undefined],
];

async function main() {
	const client = new Client();
	const emit = (...values) => client.query(EMIT, values);

	await client.connect();
	for (const values of CASES)
		await emit(...values);
	await client.query(EMIT_BYTES, ['bytes', 7, Buffer.from([0x00, 0xff, 0x0a])]);
	await client.query(EMIT_HEADERS, ['headers', 7, 'x', HEADERS]);
	await client.query(EMIT_HEADERS, ['headers_null', 7, null, null]);
	await client.query(EMIT_NAMED, ['named', 7, OBJECT, HEADERS]);
	await client.query(EMIT_TIMES, ['times', 7, 'x', '0 s', new Date(Date.now() + 23 * 3600 * 1000)]);

	for (let i = 0; i < 10; i++)
		await client.query({ name: 'emit', text: EMIT, values: ['prepared', i, `value ${i}`] });

	await client.query('BEGIN');
	await emit('transaction', 1, OBJECT);
	await client.query('SAVEPOINT s');
	await emit('transaction', 2, 'savepoint');
	await client.query('ROLLBACK TO SAVEPOINT s');
	await emit('transaction', 3, OBJECT);
	await client.query('COMMIT');

	await client.query('BEGIN');
	await emit('transaction', 4, 'rolled back');
	await client.query('ROLLBACK');

	await client.query('BEGIN');
	for (let i = 0; i < 3; i++)
		await emit('batch', i, 'x');
	await client.query('COMMIT');
	await client.end();
}

main().catch((error) => {
	console.error(error.message);
	process.exit(1);
});
