CREATE TABLE `certificates` (
	`fingerprint` text PRIMARY KEY NOT NULL,
	`type` text NOT NULL,
	`name` text NOT NULL,
	`restricted` integer DEFAULT false NOT NULL,
	`projects` text NOT NULL,
	`certificate` text NOT NULL,
	`created_at` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `cluster_groups` (
	`name` text PRIMARY KEY NOT NULL,
	`description` text DEFAULT '' NOT NULL
);
--> statement-breakpoint
CREATE TABLE `commands` (
	`id` text PRIMARY KEY NOT NULL,
	`operation_id` text,
	`member` text NOT NULL,
	`name` text NOT NULL,
	`params` text NOT NULL,
	`status` text NOT NULL,
	`applied_by` text,
	`error` text DEFAULT '' NOT NULL,
	`created_at` text NOT NULL,
	`finished_at` text
);
--> statement-breakpoint
CREATE INDEX `commands_waiting` ON `commands` (`member`,`status`);--> statement-breakpoint
CREATE INDEX `commands_operation` ON `commands` (`operation_id`);--> statement-breakpoint
CREATE TABLE `events` (
	`seq` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`project` text,
	`location` text NOT NULL,
	`timestamp` text NOT NULL,
	`metadata` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `image_aliases` (
	`project` text NOT NULL,
	`name` text NOT NULL,
	`description` text DEFAULT '' NOT NULL,
	`fingerprint` text NOT NULL,
	PRIMARY KEY(`project`, `name`)
);
--> statement-breakpoint
CREATE INDEX `image_aliases_fingerprint` ON `image_aliases` (`project`,`fingerprint`);--> statement-breakpoint
CREATE TABLE `images` (
	`project` text NOT NULL,
	`fingerprint` text NOT NULL,
	`status` text NOT NULL,
	`type` text NOT NULL,
	`architecture` text NOT NULL,
	`filename` text NOT NULL,
	`size_bytes` integer NOT NULL,
	`public` integer DEFAULT false NOT NULL,
	`cached` integer DEFAULT false NOT NULL,
	`auto_update` integer DEFAULT false NOT NULL,
	`properties` text NOT NULL,
	`profiles` text NOT NULL,
	`parts` text NOT NULL,
	`created_at` text NOT NULL,
	`uploaded_at` text NOT NULL,
	`last_used_at` text,
	`expires_at` text,
	PRIMARY KEY(`project`, `fingerprint`)
);
--> statement-breakpoint
CREATE TABLE `instances` (
	`id` text PRIMARY KEY NOT NULL,
	`project` text NOT NULL,
	`name` text NOT NULL,
	`type` text NOT NULL,
	`member` text NOT NULL,
	`architecture` text NOT NULL,
	`description` text DEFAULT '' NOT NULL,
	`ephemeral` integer DEFAULT false NOT NULL,
	`stateful` integer DEFAULT false NOT NULL,
	`profiles` text NOT NULL,
	`config` text NOT NULL,
	`devices` text NOT NULL,
	`pool` text NOT NULL,
	`memory_bytes` integer DEFAULT 0 NOT NULL,
	`status` text NOT NULL,
	`state` text,
	`state_at` text,
	`created_at` text NOT NULL,
	`last_used_at` text
);
--> statement-breakpoint
CREATE UNIQUE INDEX `instances_name` ON `instances` (`project`,`name`);--> statement-breakpoint
CREATE INDEX `instances_member` ON `instances` (`member`);--> statement-breakpoint
CREATE TABLE `members` (
	`name` text PRIMARY KEY NOT NULL,
	`public_key` text NOT NULL,
	`description` text DEFAULT '' NOT NULL,
	`failure_domain` text DEFAULT 'default' NOT NULL,
	`roles` text NOT NULL,
	`groups` text NOT NULL,
	`config` text NOT NULL,
	`architecture` text NOT NULL,
	`state` text DEFAULT 'Created' NOT NULL,
	`online` integer DEFAULT false NOT NULL,
	`status_reason` text DEFAULT '' NOT NULL,
	`status_changed_at` text NOT NULL,
	`epoch` integer DEFAULT 0 NOT NULL,
	`process_id` text DEFAULT '' NOT NULL,
	`agent_version` text DEFAULT '' NOT NULL,
	`protocol` integer DEFAULT 0 NOT NULL,
	`resources` text NOT NULL,
	`created_at` text NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `members_public_key` ON `members` (`public_key`);--> statement-breakpoint
CREATE TABLE `network_members` (
	`network` text NOT NULL,
	`member` text NOT NULL,
	`config` text NOT NULL,
	`status` text NOT NULL,
	`message` text DEFAULT '' NOT NULL,
	PRIMARY KEY(`network`, `member`)
);
--> statement-breakpoint
CREATE INDEX `network_members_member` ON `network_members` (`member`);--> statement-breakpoint
CREATE TABLE `networks` (
	`name` text PRIMARY KEY NOT NULL,
	`type` text NOT NULL,
	`description` text DEFAULT '' NOT NULL,
	`config` text NOT NULL,
	`status` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `operations` (
	`id` text PRIMARY KEY NOT NULL,
	`project` text NOT NULL,
	`class` text NOT NULL,
	`description` text NOT NULL,
	`status` integer NOT NULL,
	`resources` text,
	`metadata` text,
	`may_cancel` integer NOT NULL,
	`err` text DEFAULT '' NOT NULL,
	`location` text NOT NULL,
	`created_at` text NOT NULL,
	`updated_at` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `operations_status` ON `operations` (`status`);--> statement-breakpoint
CREATE INDEX `operations_updated` ON `operations` (`updated_at`);--> statement-breakpoint
CREATE TABLE `profiles` (
	`project` text NOT NULL,
	`name` text NOT NULL,
	`description` text DEFAULT '' NOT NULL,
	`config` text NOT NULL,
	`devices` text NOT NULL,
	PRIMARY KEY(`project`, `name`)
);
--> statement-breakpoint
CREATE TABLE `projects` (
	`name` text PRIMARY KEY NOT NULL,
	`description` text DEFAULT '' NOT NULL,
	`config` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `server_config` (
	`key` text PRIMARY KEY NOT NULL,
	`value` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `storage_pool_members` (
	`pool` text NOT NULL,
	`member` text NOT NULL,
	`config` text NOT NULL,
	`status` text NOT NULL,
	`message` text DEFAULT '' NOT NULL,
	PRIMARY KEY(`pool`, `member`)
);
--> statement-breakpoint
CREATE INDEX `storage_pool_members_member` ON `storage_pool_members` (`member`);--> statement-breakpoint
CREATE TABLE `storage_pools` (
	`name` text PRIMARY KEY NOT NULL,
	`driver` text NOT NULL,
	`description` text DEFAULT '' NOT NULL,
	`config` text NOT NULL,
	`status` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `tokens` (
	`operation_id` text PRIMARY KEY NOT NULL,
	`kind` text NOT NULL,
	`secret_hash` text NOT NULL,
	`name` text NOT NULL,
	`grant` text,
	`expires_at` text,
	`used_at` text,
	`used_by` text
);
--> statement-breakpoint
CREATE UNIQUE INDEX `tokens_secret` ON `tokens` (`secret_hash`);--> statement-breakpoint
CREATE TABLE `warnings` (
	`id` text PRIMARY KEY NOT NULL,
	`dedupe_key` text NOT NULL,
	`type` text NOT NULL,
	`severity` text NOT NULL,
	`status` text NOT NULL,
	`count` integer DEFAULT 1 NOT NULL,
	`location` text DEFAULT '' NOT NULL,
	`project` text DEFAULT '' NOT NULL,
	`entity_url` text DEFAULT '' NOT NULL,
	`last_message` text NOT NULL,
	`first_seen_at` text NOT NULL,
	`last_seen_at` text NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `warnings_dedupe` ON `warnings` (`dedupe_key`);--> statement-breakpoint
CREATE INDEX `warnings_status` ON `warnings` (`status`);