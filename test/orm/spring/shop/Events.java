package shop;

import java.util.UUID;
import org.springframework.data.jpa.repository.JpaRepository;

interface Events extends JpaRepository<OutboxEvent, UUID> {
}
