"""Nothing. Of this name is what ``makemigrations`` writes beside 0.0.4, whose models and migration differ in two help texts.

It does so for every project with a foreign key to a run, whose own migration then depends on it. So it is here to be found.
"""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("django_hookflow", "0001_initial")]

    operations = []
