"""The JSON API, in the shapes of Zuul's. `/api/tenant/{tenant}/...` answers for one tenant, `/api/...` for all."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from services.web import zuul_json
from services.web.queries import BadQuery, build_query
from services.web.reader import Reader


def _missing(what: str) -> JSONResponse:
    return JSONResponse({"error": f"There is no such {what}."}, 404)


class Api:
    def __init__(self, reader: Reader, web_url: str) -> None:
        self._reader = reader
        self._web_url = web_url

    def routes(self) -> list[Route]:
        """With and without a tenant."""
        return [
            Route("/api/info", self.info),
            Route("/api/tenants", self.tenants),
            Route("/api/status", self.status),
            Route("/api/tenant/{tenant}/status", self.status),
            *(
                Route(prefix + path, answer)
                for prefix in ("/api", "/api/tenant/{tenant}")
                for path, answer in (("/builds", self.builds), ("/build/{id}", self.build), ("/buildset/{id}", self.buildset))
            ),
        ]

    def _url(self, request: Request) -> str:
        return self._web_url or str(request.base_url).rstrip("/")

    async def info(self, request: Request) -> JSONResponse:
        return JSONResponse({"info": {"capabilities": {"job_history": True}, "rest_api_url": self._url(request)}})

    async def tenants(self, request: Request) -> JSONResponse:
        status = await self._reader.status()
        return JSONResponse([{"name": tenant.name} for tenant in status.tenants])

    async def status(self, request: Request) -> JSONResponse:
        status = await self._reader.status()
        name = request.path_params.get("tenant")
        if name is None:
            return JSONResponse(zuul_json.status(status, self._url(request)))
        tenant = next((tenant for tenant in status.tenants if tenant.name == name), None)
        return JSONResponse(zuul_json.tenant_status(tenant, self._url(request))) if tenant else _missing("tenant")

    async def builds(self, request: Request) -> JSONResponse:
        try:
            query = build_query(request.query_params, request.path_params.get("tenant", ""))
        except BadQuery as problem:
            return JSONResponse({"error": str(problem)}, 400)
        return JSONResponse(zuul_json.build_rows(await self._reader.builds(query), self._url(request)))

    async def build(self, request: Request) -> JSONResponse:
        found = await self._reader.build(request.path_params["id"])
        if found is None or request.path_params.get("tenant", found.item.tenant) != found.item.tenant:
            return _missing("build")
        return JSONResponse(zuul_json.build_detail(found, self._url(request)))

    async def buildset(self, request: Request) -> JSONResponse:
        found = await self._reader.buildset(request.path_params["id"])
        if found is None or request.path_params.get("tenant", found.item.tenant) != found.item.tenant:
            return _missing("buildset")
        return JSONResponse(zuul_json.buildset(found, self._url(request)))
