CREATE TABLE `storage_volumes` (
	`pool` text NOT NULL,
	`project` text NOT NULL,
	`name` text NOT NULL,
	`member` text NOT NULL,
	`description` text DEFAULT '' NOT NULL,
	`config` text NOT NULL,
	`status` text NOT NULL,
	`created_at` text NOT NULL,
	PRIMARY KEY(`pool`, `project`, `name`, `member`)
);
--> statement-breakpoint
CREATE INDEX `storage_volumes_member` ON `storage_volumes` (`member`);