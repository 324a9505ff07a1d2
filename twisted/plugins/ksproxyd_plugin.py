"""Makes ``twistd ksproxyd`` known."""

from twisted.application.service import ServiceMaker

serviceMaker = ServiceMaker(
    "ksproxyd", "ksproxyd.tap", "An event-driven API gateway for Kubernetes.", "ksproxyd"
)
