"""The API page at `/docs`: Swagger UI (Apache 2.0), served by the gateway itself."""
