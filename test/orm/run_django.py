"""Runs the recipe for Django: its own test, an order that commits, one that
fails in its commit, and one whose event fails. The connection comes from the PG* variables."""

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
for item in "tea", "x" * 2000:
    try:
        place(item)
        raise AssertionError("a second order has been committed")
    except IntegrityError:
        pass
