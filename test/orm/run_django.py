"""Runs the recipe for Django: its own test, an order that commits, and one that
fails in its commit. The connection comes from the PG* variables."""

import os
import unittest

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["PGDATABASE"],
    }},
    INSTALLED_APPS=["shop"],
    USE_TZ=True,
)
django.setup()

from django.db import IntegrityError  # noqa: E402
from shop.orders import place  # noqa: E402

assert unittest.main(module="shop.tests", exit=False).result.wasSuccessful()
place("tea")
try:
    place("tea")
    raise AssertionError("a second order of tea has been committed")
except IntegrityError:
    pass
