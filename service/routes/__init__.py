"""One file per resource; each decodes, calls and encodes, and computes nothing itself."""

from service.routes import attack, classify, latency, models, oip, purify, results, samples

ROUTERS = (
    classify.router,
    purify.router,
    attack.router,
    samples.router,
    models.router,
    latency.router,
    results.router,
    oip.router,
)
