"""Identity providers: LDAP, OpenID Connect, GitHub and others (spec 02, 4)."""
