# What applications with Django do with a table for their outbox, with a view of
# outbox.create_view() in its place. Writes the events that must be there in the
# end, in order: a line of JSON each.

import json
import uuid

import django
from django.conf import settings

settings.configure(
    DATABASES={'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': 'postgres',
                           'OPTIONS': {'options': '-c search_path=app'}}},
    USE_TZ=True)
django.setup()

from django.db import NotSupportedError, models, transaction
from django.db.models import Count


class Event(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    aggregatetype = models.CharField(max_length=255, default='order')
    aggregateid = models.CharField(max_length=255)
    type = models.CharField(max_length=255, default='Placed')
    payload = models.JSONField(null=True)
    timestamp = models.DateTimeField(auto_now_add=True)
    tenant = models.TextField(null=True)

    class Meta:
        app_label = 'shop'
        managed = False
        abstract = True


class TextEvent(Event):
    class Meta(Event.Meta):
        abstract = False
        db_table = 'outboxtext'


class JsonEvent(Event):
    class Meta(Event.Meta):
        abstract = False
        db_table = 'outboxjson'


class Order(models.Model):
    item = models.TextField()

    class Meta:
        app_label = 'shop'
        managed = False
        db_table = 'orders'


class Rollback(Exception):
    pass


def emitted(*events):
    for e in events:
        print(json.dumps([str(e.id), e.aggregateid, e.type, e.payload, e.tenant]))


def use(model):
    def new(key, **fields):
        return model(aggregateid=key, **fields)

    with transaction.atomic():
        order = Order.objects.create(item='tea')
        event = model.objects.create(aggregateid=str(order.id), payload={'id': order.id}, tenant='eu')
        again = model.objects.get(pk=event.pk)
        assert (again.aggregateid, again.payload, again.tenant) == (event.aggregateid, event.payload, 'eu')
        assert model.objects.filter(aggregatetype='order', aggregateid=str(order.id)).exists()
        event.refresh_from_db()
    emitted(event)
    assert model.objects.count() == 0, 'gone with the commit'

    with transaction.atomic():
        events = model.objects.bulk_create([new(f'bulk {i}', payload=[i]) for i in range(3)], batch_size=2)
        events += model.objects.bulk_create([new('ignore', payload='x')], ignore_conflicts=True)
        assert model.objects.aggregate(n=Count('*'))['n'] == 4
    emitted(*events)

    with transaction.atomic():
        event = new('save', payload={'a': 1.5, 'ü': None})
        event.save()
        event.save()
        event.save(update_fields=['payload'])
        event.payload = {'a': 2}
        try:
            with transaction.atomic():
                event.save()
            assert False, 'an event changed'
        except NotSupportedError:
            event.refresh_from_db()
        assert event.payload == {'a': 1.5, 'ü': None}
        # not known to be new: an UPDATE comes first
        other = new('preset')
        other._state.adding = False
        other.save()
        found, created = model.objects.get_or_create(pk=other.pk)
        assert found == other and not created
        third, created = model.objects.get_or_create(aggregateid='third')
        assert created
    emitted(event, other, third)

    with transaction.atomic():
        event = model.objects.create(aggregateid='removed')
        pk = event.pk
        assert event.delete()[0] == 1
        assert not model.objects.filter(pk=pk).exists()
        event.pk = pk
        kept = model.objects.create(aggregateid='kept')
        model.objects.filter(aggregateid='kept').delete()
    emitted(event, kept)

    try:
        with transaction.atomic():
            model.objects.create(aggregateid='never')
            Order.objects.create(item='never')
            raise Rollback
    except Rollback:
        pass

    with transaction.atomic():
        before = model.objects.create(aggregateid='before')
        try:
            with transaction.atomic():
                model.objects.create(aggregateid='never')
                model.objects.filter(pk=before.pk).delete()
                assert model.objects.count() == 1
                raise Rollback
        except Rollback:
            pass
        assert [e.aggregateid for e in model.objects.all()] == ['before']
    emitted(before)


use(TextEvent)
use(JsonEvent)
