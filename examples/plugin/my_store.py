import dbm

from remex_core.plugin import BlobNotFound, Spec, Store, StoreType, hookimpl


class DbmStore(Store):
    def __init__(self, db):
        self.db = db

    async def find_missing(self, keys):
        return frozenset(key for key in keys if str(key) not in self.db)

    async def read(self, key, *, offset=0, limit=None):
        if str(key) not in self.db:
            raise BlobNotFound(key)
        value = self.db[str(key)][offset:][:limit]
        for start in range(0, len(value), 2**20):
            yield value[start : start + 2**20]

    async def write(self, key, chunks):
        self.db[str(key)] = b"".join([chunk async for chunk in chunks])

    async def discard(self, keys):
        for key in set(keys) - await self.find_missing(keys):
            del self.db[str(key)]

    async def close(self):
        self.db.close()


async def build(spec, ctx):
    return DbmStore(dbm.open(ctx.data_dir / ctx.path, "c"))


@hookimpl
def remex_stores():
    return [StoreType("dbm", Spec, build, "values in one file of this process")]
