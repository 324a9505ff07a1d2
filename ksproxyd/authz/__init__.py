"""Who may do what (spec 03, 1 and 2): roles, the bindings that give them to people, and the questions one can ask.

A role is compiled when it changes (:mod:`.roles`), a binding is found by its subject (:mod:`.bindings`),
:mod:`.rbac` walks from one to the other, and :mod:`.memory` keeps what it found until something of it changes.
"""
