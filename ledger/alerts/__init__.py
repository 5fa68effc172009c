"""Alerts without a metrics store: a follower of the journal that notifies people of what is wrong, once, and of its end.

``survey`` reads what is wrong, ``lifecycle`` decides what is due, ``delivery`` sends it through ``channels`` and records it,
``alerter`` makes the rounds. It is a process of its own: nothing of it delays a sync.
"""
