# What applications with SQLAlchemy do with a table for their outbox, with a view
# of outbox.create_view() in its place. Writes the events that must be there in
# the end, in order: a line of JSON each.

import json
import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = sa.create_engine('postgresql+psycopg:///postgres')


class Base(DeclarativeBase):
    __table_args__ = {'schema': 'app'}


# the application's ids, and JSON in a column of text
class TextEvent(Base):
    __tablename__ = 'outboxtext'
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    aggregatetype: Mapped[str] = mapped_column(default='order')
    aggregateid: Mapped[str]
    type: Mapped[str] = mapped_column(sa.String(255), default='Placed')
    payload: Mapped[str | None]
    tenant: Mapped[str | None]


# ids and times of the server's
class JsonEvent(Base):
    __tablename__ = 'outboxjson'
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=sa.FetchedValue())
    aggregatetype: Mapped[str] = mapped_column(default='order')
    aggregateid: Mapped[str]
    type: Mapped[str] = mapped_column(default='Placed')
    payload: Mapped[dict | None] = mapped_column(JSONB(none_as_null=True))
    timestamp: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True), server_default=sa.FetchedValue())
    tenant: Mapped[str | None]


class Order(Base):
    __tablename__ = 'orders'
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


def emitted(*events):
    for e in events:
        payload = json.loads(e.payload) if isinstance(e.payload, str) else e.payload
        print(json.dumps([str(e.id), e.aggregateid, e.type, payload, e.tenant]))


def use(model, json_of):
    def new(key, payload=None, **fields):
        return model(aggregateid=key, payload=None if payload is None else json_of(payload), **fields)

    def commit(session, *events):
        session.commit()
        session.expunge_all()
        emitted(*events)

    with Session(engine, expire_on_commit=False) as session:
        order = Order(item='tea')
        session.add(order)
        session.flush()
        event = new(str(order.id), {'id': order.id}, tenant='eu')
        session.add(event)
        session.flush()
        payload = event.payload
        session.refresh(event)
        assert event.payload == payload
        assert session.scalars(sa.select(model).where(model.aggregateid == str(order.id))).one() is event
        commit(session, event)
        assert session.scalar(sa.select(sa.func.count()).select_from(model)) == 0, 'gone with the commit'

        events = [new(f'bulk {i}', {'n': i}) for i in range(5)]
        session.add_all(events)
        session.flush()
        assert len({e.id for e in events}) == 5
        commit(session, *events)

        event = new('save', {'a': 1.5, 'ü': None})
        session.add(event)
        session.flush()
        event.tenant, event.tenant = 'x', None
        sa.orm.attributes.flag_modified(event, 'payload')
        session.flush()
        merged = session.merge(new('merged', id=uuid.uuid4()))
        session.flush()
        session.expunge(merged)
        merged = session.merge(merged)
        session.flush()
        commit(session, event, merged)

        event = new('changed', {'a': 1})
        session.add(event)
        session.flush()
        event.payload = json_of({'a': 2})
        try:
            session.flush()
            assert False, 'an event changed'
        except sa.exc.NotSupportedError:
            session.rollback()

        events = [new(f'removed {i}') for i in range(3)]
        session.add_all(events)
        session.flush()
        for event in events:
            session.delete(event)
        session.flush()
        assert session.scalars(sa.select(model)).all() == []
        commit(session, *events)

        session.add(new('never'))
        session.add(Order(item='never'))
        session.flush()
        session.rollback()

        before = new('before')
        session.add(before)
        session.flush()
        nested = session.begin_nested()
        session.add(new('never'))
        session.delete(before)
        session.flush()
        nested.rollback()
        assert [e.aggregateid for e in session.scalars(sa.select(model))] == ['before']
        commit(session, before)

        rows = [{'aggregateid': f'core {i}', 'payload': json_of({'n': i})} for i in range(3)]
        events = session.scalars(sa.insert(model).returning(model, sort_by_parameter_order=True), rows).all()
        commit(session, *events)

        one = uuid.uuid4()
        session.execute(insert(model).values(id=one, aggregateid='conflict').on_conflict_do_nothing())
        event = session.get(model, one)
        commit(session, event)


use(TextEvent, json.dumps)
use(JsonEvent, lambda payload: payload)
