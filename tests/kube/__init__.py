"""Tests of the gateway in front of a real kube-apiserver with an unmodified kubectl.

``binaries`` finds or builds the programs, ``cluster`` runs them, ``gateway_process`` runs ksproxyd before them.
"""
