"""The golden transcripts (``../shared/golden`` beside the checkout), all of them, on a real kube-apiserver."""
