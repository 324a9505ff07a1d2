"""The proxies that ksproxyd is measured against. Each is its authors' own way of proxying, with connections kept."""
