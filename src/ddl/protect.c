/*-------------------------------------------------------------------------
 *
 * protect.c
 *	  Refuses commands that would break our own objects.
 *
 * The library finds them by their names, and reads and writes rows without
 * SQL. Core guards members of an extension against DROP only; renamed, moved
 * or altered, they would stop everything, with an error far from its cause.
 *
 * What does not concern us stays possible: owner, privileges, comments,
 * storage parameters, tablespaces, statistics, row security; indexes and
 * triggers of others; VACUUM, CLUSTER, REINDEX. Scripts of extensions and
 * pg_upgrade may do what they like, and so may who sets
 * allow_system_table_mods.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/relation.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "ddl/protect.h"
#include "store/table_writer.h"

static bool
is_member(Oid class_id, Oid object_id)
{
	Oid extension = get_extension_oid(OUTBOX_EXTENSION, true);

	return OidIsValid(extension) && OidIsValid(object_id) &&
		   getExtensionOfObject(class_id, object_id) == extension;
}

/* Is it a relation of ours, or an index of one? */
static bool
is_our_relation(const RangeVar *name)
{
	Oid relation =
		name == NULL ? InvalidOid : RangeVarGetRelid(name, NoLock, true);
	char kind = OidIsValid(relation) ? get_rel_relkind(relation) : '\0';

	/* those have their dependency on the table alone */
	if (kind == RELKIND_INDEX || kind == RELKIND_PARTITIONED_INDEX)
		relation = IndexGetRelation(relation, true);
	return is_member(RelationRelationId, relation);
}

static bool
has_our_relation(List *names)
{
	ListCell *cell;

	foreach (cell, names)
	{
		if (is_our_relation(lfirst_node(RangeVar, cell)))
			return true;
	}
	return false;
}

/* Another kind of object. Raises core's error if it does not exist. */
static bool
is_our_object(ObjectType type, Node *object, bool missing_ok)
{
	Relation relation = NULL;
	ObjectAddress address = get_object_address(type, object, &relation,
											   AccessShareLock, missing_ok);

	if (relation != NULL)
		relation_close(relation, AccessShareLock);
	return is_member(address.classId, address.objectId);
}

static bool
breaks_by_rename(const RenameStmt *stmt)
{
	switch (stmt->renameType)
	{
		case OBJECT_SCHEMA:
			return is_member(NamespaceRelationId,
							 get_namespace_oid(stmt->subname, true));
		case OBJECT_TRIGGER:
			return outbox_table_writer_is_our_trigger(stmt->subname) &&
				   is_our_relation(stmt->relation);
		case OBJECT_RULE:
		case OBJECT_POLICY:
		case OBJECT_DATABASE:
		case OBJECT_ROLE:
		case OBJECT_TABLESPACE:
			return false;
		default:
			if (stmt->relation != NULL)
				return is_our_relation(stmt->relation);
			return stmt->object != NULL &&
				   is_our_object(stmt->renameType, stmt->object,
								 stmt->missing_ok);
	}
}

/* Is it written by SQL alone, and without an own constraint? Then those of
 * others hold. */
static bool
allows_constraints(const char *table)
{
	return strncmp(table, OUTBOX_POSITION_PREFIX,
				   strlen(OUTBOX_POSITION_PREFIX)) == 0;
}

/* A subcommand of ALTER TABLE on a table of ours */
static bool
breaks_our_table(const char *table, const AlterTableCmd *cmd)
{
	switch (cmd->subtype)
	{
		case AT_SetStatistics:
		case AT_SetOptions:
		case AT_ResetOptions:
		case AT_SetStorage:
		case AT_SetCompression:
		case AT_ChangeOwner:
		case AT_ClusterOn:
		case AT_DropCluster:
		case AT_SetLogged:
		case AT_SetTableSpace:
		case AT_SetRelOptions:
		case AT_ResetRelOptions:
		case AT_ReplaceRelOptions:
		case AT_ReplicaIdentity:
		case AT_EnableRowSecurity:
		case AT_DisableRowSecurity:
		case AT_ForceRowSecurity:
		case AT_NoForceRowSecurity:
			return false;
		case AT_EnableTrig:
		case AT_EnableAlwaysTrig:
		case AT_EnableReplicaTrig:
		case AT_DisableTrig:
			return outbox_table_writer_is_our_trigger(cmd->name);
		case AT_AddConstraint:
		case AT_DropConstraint:
			return !allows_constraints(table);
		case AT_EnableRule:
		case AT_EnableAlwaysRule:
		case AT_EnableReplicaRule:
		case AT_DisableRule:
			return false;
		default:
			/* also those that turn all triggers on or off */
			return true;
	}
}

/* One on another table, that makes it a child of ours or ours of it */
static bool
breaks_by_inheritance(const AlterTableCmd *cmd)
{
	if (cmd->subtype == AT_AddInherit)
		return is_our_relation((RangeVar *) cmd->def);
	if (cmd->subtype == AT_AttachPartition)
		return is_our_relation(((PartitionCmd *) cmd->def)->name);
	return false;
}

static bool
breaks_by_alter(const AlterTableStmt *stmt)
{
	bool ours = is_our_relation(stmt->relation);
	ListCell *cell;

	foreach (cell, stmt->cmds)
	{
		const AlterTableCmd *cmd = lfirst_node(AlterTableCmd, cell);

		if (ours ? breaks_our_table(stmt->relation->relname, cmd)
				 : breaks_by_inheritance(cmd))
			return true;
	}
	return false;
}

/* Another step or a cache would break the order of ids; a start is told of
 * when the next event is emitted. */
static bool
breaks_sequence(const AlterSeqStmt *stmt)
{
	ListCell *cell;

	foreach (cell, stmt->options)
	{
		if (strcmp(lfirst_node(DefElem, cell)->defname, "restart") != 0)
			return is_our_relation(stmt->sequence);
	}
	return false;
}

static bool
drops_our_trigger(const DropStmt *stmt)
{
	ListCell *cell;

	if (stmt->removeType != OBJECT_TRIGGER)
		return false;
	foreach (cell, stmt->objects)
	{
		/* the name of the table, and then that of the trigger */
		List *name = list_copy(lfirst_node(List, cell));
		const char *trigger = strVal(llast(name));

		name = list_delete_last(name);
		if (outbox_table_writer_is_our_trigger(trigger) && name != NIL &&
			is_our_relation(makeRangeVarFromNameList(name)))
			return true;
	}
	return false;
}

/* CREATE OR REPLACE FUNCTION, where it would make one of that name */
static bool
replaces_our_function(const CreateFunctionStmt *stmt)
{
	ObjectWithArgs *function = makeNode(ObjectWithArgs);
	ListCell *cell;
	char *schema;
	char *name;

	if (!stmt->replace)
		return false;
	schema = get_namespace_name(
		QualifiedNameGetCreationNamespace(stmt->funcname, &name));
	/* for most, no types need be looked up, which may raise notices */
	if (schema == NULL || (strcmp(schema, OUTBOX_SCHEMA) != 0 &&
						   strcmp(name, "outbox_emit") != 0 &&
						   strcmp(name, "outbox_emit_now") != 0))
		return false;
	function->objname = list_make2(makeString(schema), makeString(name));
	foreach (cell, stmt->parameters)
	{
		FunctionParameter *parameter = lfirst_node(FunctionParameter, cell);

		if (parameter->mode != FUNC_PARAM_OUT &&
			parameter->mode != FUNC_PARAM_TABLE)
			function->objargs = lappend(function->objargs, parameter->argType);
	}
	return is_our_object(OBJECT_ROUTINE, (Node *) function, true);
}

static bool
breaks(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_RenameStmt:
			return breaks_by_rename((RenameStmt *) stmt);
		case T_AlterObjectSchemaStmt:
		{
			AlterObjectSchemaStmt *alter = (AlterObjectSchemaStmt *) stmt;

			return alter->relation != NULL
					   ? is_our_relation(alter->relation)
					   : is_our_object(alter->objectType, alter->object,
									   alter->missing_ok);
		}
		case T_AlterTableStmt:
			return breaks_by_alter((AlterTableStmt *) stmt);
		case T_AlterSeqStmt:
			return breaks_sequence((AlterSeqStmt *) stmt);
		case T_AlterFunctionStmt:
			return is_our_object(((AlterFunctionStmt *) stmt)->objtype,
								 (Node *) ((AlterFunctionStmt *) stmt)->func,
								 false);
		case T_AlterExtensionContentsStmt:
			return strcmp(((AlterExtensionContentsStmt *) stmt)->extname,
						  OUTBOX_EXTENSION) == 0;
		case T_CreateStmt:
			return has_our_relation(((CreateStmt *) stmt)->inhRelations);
		case T_CreateFunctionStmt:
			return replaces_our_function((CreateFunctionStmt *) stmt);
		case T_ViewStmt:
			return ((ViewStmt *) stmt)->replace &&
				   is_our_relation(((ViewStmt *) stmt)->view);
		case T_CreateTrigStmt:
			return ((CreateTrigStmt *) stmt)->replace &&
				   outbox_table_writer_is_our_trigger(
					   ((CreateTrigStmt *) stmt)->trigname) &&
				   is_our_relation(((CreateTrigStmt *) stmt)->relation);
		case T_RuleStmt:
			/* not all rows are inserted by SQL; that for SELECT is the view */
			return (((RuleStmt *) stmt)->event == CMD_INSERT ||
					((RuleStmt *) stmt)->event == CMD_SELECT) &&
				   is_our_relation(((RuleStmt *) stmt)->relation);
		case T_DropStmt:
			return drops_our_trigger((DropStmt *) stmt);
		default:
			return false;
	}
}

/* Called before each command. Raises 0A000 for one that breaks us. */
void
outbox_protect_check(Node *stmt)
{
	if (creating_extension || IsBinaryUpgrade || allowSystemTableMods)
		return;
	if (breaks(stmt))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot change objects of extension \"%s\"",
						OUTBOX_EXTENSION),
				 errdetail("Their names and definitions are those that the "
						   "library works with."),
				 errhint("Owner, privileges, storage parameters, tablespaces "
						 "and statistics can be changed, and indexes and "
						 "triggers be added.")));
}
