"""Tests of ksproxyd.settings."""
