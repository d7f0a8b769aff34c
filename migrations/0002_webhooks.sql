CREATE TABLE `idempotency_keys` (
	`id` text PRIMARY KEY NOT NULL,
	`request_hash` text NOT NULL,
	`operation_id` text NOT NULL,
	`answer` text,
	`claimed_at` text NOT NULL,
	`created_at` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `idempotency_keys_created` ON `idempotency_keys` (`created_at`);--> statement-breakpoint
CREATE TABLE `trigger_deliveries` (
	`seq` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`trigger_id` text NOT NULL,
	`delivery_id` text NOT NULL,
	`outcome` text NOT NULL,
	`status` integer NOT NULL,
	`reason` text DEFAULT '' NOT NULL,
	`instance_name` text DEFAULT '' NOT NULL,
	`operation_id` text DEFAULT '' NOT NULL,
	`received_at` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `trigger_deliveries_trigger` ON `trigger_deliveries` (`trigger_id`,`received_at`);--> statement-breakpoint
CREATE TABLE `trigger_launches` (
	`trigger_id` text NOT NULL,
	`delivery_key` text NOT NULL,
	`admitted` integer NOT NULL,
	`instance_id` text NOT NULL,
	`instance_name` text NOT NULL,
	`operation_id` text NOT NULL,
	`launched_at` text NOT NULL,
	`expires_at` text,
	PRIMARY KEY(`trigger_id`, `delivery_key`)
);
--> statement-breakpoint
CREATE INDEX `trigger_launches_launched` ON `trigger_launches` (`trigger_id`,`launched_at`);--> statement-breakpoint
CREATE INDEX `trigger_launches_instance` ON `trigger_launches` (`instance_id`);--> statement-breakpoint
CREATE INDEX `trigger_launches_expires` ON `trigger_launches` (`expires_at`);--> statement-breakpoint
CREATE TABLE `triggers` (
	`id` text PRIMARY KEY NOT NULL,
	`project` text NOT NULL,
	`name` text NOT NULL,
	`description` text DEFAULT '' NOT NULL,
	`enabled` integer DEFAULT true NOT NULL,
	`scheme` text NOT NULL,
	`secret` text NOT NULL,
	`previous_secret` text,
	`previous_until` text,
	`window_seconds` integer NOT NULL,
	`timestamp_pointer` text DEFAULT '' NOT NULL,
	`parameters` text NOT NULL,
	`rules` text NOT NULL,
	`template` text NOT NULL,
	`limits` text NOT NULL,
	`created_at` text NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `triggers_name` ON `triggers` (`project`,`name`);--> statement-breakpoint
CREATE TABLE `webhook_queue` (
	`webhook_id` text NOT NULL,
	`event_seq` integer NOT NULL,
	`status` text NOT NULL,
	`attempts` integer DEFAULT 0 NOT NULL,
	`due_at` text NOT NULL,
	`last_result` text DEFAULT '' NOT NULL,
	`created_at` text NOT NULL,
	PRIMARY KEY(`webhook_id`, `event_seq`)
);
--> statement-breakpoint
CREATE INDEX `webhook_queue_due` ON `webhook_queue` (`status`,`due_at`);--> statement-breakpoint
CREATE TABLE `webhooks` (
	`id` text PRIMARY KEY NOT NULL,
	`project` text NOT NULL,
	`name` text NOT NULL,
	`description` text DEFAULT '' NOT NULL,
	`enabled` integer DEFAULT true NOT NULL,
	`url` text NOT NULL,
	`actions` text NOT NULL,
	`allow_private` integer DEFAULT false NOT NULL,
	`secret` text NOT NULL,
	`cursor` integer NOT NULL,
	`created_at` text NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `webhooks_name` ON `webhooks` (`project`,`name`);