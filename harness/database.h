/* database.h: opening databases of SQLite in which any number of processes read and write at once. */
#ifndef MG_DATABASE_H
#define MG_DATABASE_H

#include <sqlite3.h>

/* SQLITE_OK, or what sqlite3_errmsg(*db) tells; *db is to be closed in both cases. What others hold is waited for, here
 * and in every later statement. After a power cut the last entries may be missing, the file is whole. */
int mg_database_open(sqlite3 **db, const char *path);

#endif
