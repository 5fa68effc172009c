"""The operator's page: a local web application that shows what the commands show, and lets people decide about corrections.

Needs the extra ``[page]``. Every answer under ``/api`` is the object that the command prints with ``--json``; the page computes
no figure of its own.
"""
