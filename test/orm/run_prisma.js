/*
 * Runs the recipe for Prisma, and what else it does with rows of a table;
 * test/t/158_orms.pl knows what must come of it. The connection comes from the
 * PG* variables.
 */
'use strict';

const assert = require('node:assert');
const path = require('node:path');
const { PrismaPg } = require('@prisma/adapter-pg');
const { PrismaClient } = require(path.resolve('prisma/client'));
const { place } = require(path.resolve('prisma/shop.js'));

const event = (type, key, payload = { n: 1 }, more = {}) =>
	({ aggregatetype: 'order', aggregateid: key, type, payload: payload && JSON.stringify(payload), ...more });

async function habits(prisma) {
	const text = { text: 'grüße "€" \\ \n \'' };
	const id = '10000000-0000-4000-8000-000000000001';

	await prisma.$transaction(async (tx) => {
		await tx.outboxEvent.create({ data: event('Created', 'k1', text, { id }) });
		const found = await tx.outboxEvent.findUniqueOrThrow({ where: { id } });

		assert.deepStrictEqual([found.aggregateid, JSON.parse(found.payload)], ['k1', text]);
		await tx.outboxEvent.update({ where: { id }, data: { type: 'Created' } });
		assert.strictEqual(await tx.outboxEvent.count(), 1);
	});
	assert.strictEqual(await prisma.outboxEvent.count(), 0);

	const rows = [1, 2, 3].map((n) => event('Bulk', `b${n}`, { n }));

	assert.strictEqual((await prisma.outboxEvent.createManyAndReturn({ data: rows })).length, 3);
	assert.strictEqual((await prisma.outboxEvent.createMany({
		data: [event('Bulk', 'b4', { n: 4 })],
		skipDuplicates: true,
	})).count, 1);

	await prisma.$transaction(async (tx) => {
		const removed = await tx.outboxEvent.create({ data: event('Removed', 'r1') });

		await tx.outboxEvent.delete({ where: { id: removed.id } });
		assert.strictEqual(await tx.outboxEvent.count(), 0);
		await tx.outboxEvent.create({ data: event('Removed', 'r2') });
		assert.strictEqual((await tx.outboxEvent.deleteMany({ where: { aggregateid: 'r2' } })).count, 1);
	});

	await prisma.$transaction(async (tx) => {
		const kept = await tx.outboxEvent.create({ data: event('Kept', 's1') });

		await tx.$executeRaw`SAVEPOINT s`;
		await tx.outboxEvent.create({ data: event('Lost', 's2') });
		await tx.$executeRaw`ROLLBACK TO SAVEPOINT s`;
		await assert.rejects(tx.outboxEvent.update({ where: { id: kept.id }, data: { type: 'Changed' } }));
		await tx.$executeRaw`ROLLBACK TO SAVEPOINT s`;
		await tx.outboxEvent.create({ data: event('Tombstone', 't1', null) });
	});

	await assert.rejects(prisma.$transaction(async (tx) => {
		await tx.outboxEvent.create({ data: event('Lost', 'l1') });
		throw new Error('none of this');
	}));
}

async function main() {
	const { PGHOST: host, PGPORT: port, PGUSER: user, PGDATABASE: database } = process.env;
	const prisma = new PrismaClient({
		adapter: new PrismaPg({ host, port: Number(port), user, database }),
	});

	await place(prisma, 'tea');
	await assert.rejects(place(prisma, 'tea'));
	await assert.rejects(place(prisma, 'x'.repeat(2000)));
	await habits(prisma);
	await prisma.$disconnect();
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
