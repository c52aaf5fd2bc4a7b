/*-------------------------------------------------------------------------
 *
 * secret_file.h
 *	  Files that may hold secrets.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SECRET_FILE_H
#define OUTBOX_SECRET_FILE_H

extern char *outbox_secret_file_read(const char *path, char *error);
extern void outbox_secret_file_forget(char *text);

#endif /* OUTBOX_SECRET_FILE_H */
