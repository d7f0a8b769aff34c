CREATE TABLE `former_members` (
	`name` text NOT NULL,
	`public_key` text NOT NULL,
	`kind` text NOT NULL,
	`clean_up` integer DEFAULT false NOT NULL,
	`since` text NOT NULL,
	`learned_at` text,
	PRIMARY KEY(`name`, `public_key`)
);
--> statement-breakpoint
CREATE INDEX `former_members_key` ON `former_members` (`public_key`);